"""Names of people and towns, and the syllables that invented names are made of."""

FIRST_NAMES = tuple(
    """
    Maria Anna Elena Sofia Lucia Ingrid Astrid Freya Greta Hanna Johanna Katrin Ursula Petra Monika Sabine Renate
    Claire Camille Juliette Margaux Odile Solange Colette Brigitte Amelie Beatrice Chiara Giulia Francesca Paola
    Carmen Rosa Isabel Pilar Dolores Ines Lourdes Ximena Valentina Catalina Mariana Teresa Fernanda Leticia
    Olga Irina Natalia Ludmila Svetlana Daria Vera Zofia Agnieszka Marta Jadwiga Milena Jelena Vesna Ivana
    Aisha Fatima Leila Samira Yasmin Nadia Zainab Mariam Amina Halima Khadija Noor Rania Shirin Parisa Nasrin
    Priya Anjali Meera Lakshmi Sunita Kavita Deepa Shreya Nandini Ananya Rukmini Yuki Haruka Sakura Naoko Emiko
    Michiko Mei Lin Xiu Jing Yan Hua Soo-jin Min-ji Hye-rin Thuy Linh Mai Siti Dewi Putri Malee Nok Imelda
    Ngozi Adaeze Chioma Folake Yetunde Wanjiru Akinyi Thandiwe Nomvula Zanele Abena Efua Makena Tariro Rutendo
    Grace Alice Emily Charlotte Harriet Eleanor Rose Ruth Judith Hazel Ivy Martha Agnes Edith Nora Maeve Siobhan
    Peter Paul Jonas Lukas Matthias Stefan Dieter Klaus Heinrich Otto Anton Felix Bruno Emil Oskar Gustav Lars
    Sven Erik Magnus Olaf Henrik Nils Torben Mikkel Aleksi Juhani Eero Andres Jaan Janis Tomas Vytautas Pavel
    Jiri Marek Wojciech Piotr Tadeusz Andrei Ion Mircea Dragan Milos Goran Bojan Ivan Boris Dmitri Sergei Oleg
    Yuri Mikhail Giorgos Nikos Kostas Dimitris Emre Mehmet Mustafa Kemal Cem Ali Hassan Omar Yusuf Ibrahim Khalid
    Tariq Karim Rashid Farid Reza Dariush Arjun Rahul Vikram Sanjay Ravi Suresh Anil Kiran Hiroshi Kenji Takeshi
    Daisuke Ryo Satoshi Wei Jun Bo Ming Tao Joon-ho Sung-min Minh Duc Quang Budi Agus Somchai Niran Jose Luis
    Carlos Miguel Diego Pablo Javier Rafael Mateo Joaquin Thiago Joao Tiago Pierre Luc Marcel Henri Etienne Remy
    Marco Luca Paolo Matteo Enzo Kwame Kofi Chidi Emeka Tunde Sipho Thabo Mandla Jabari Otieno Kamau Tendai
    Arthur Walter Edgar Samuel Thomas Oliver Hugh Owen Rhys Callum Angus Finn Declan Patrick Seamus Kai Koa Tane
    """.split()
)

SURNAMES = tuple(
    """
    Ortiz Garcia Moreno Navarro Delgado Castillo Herrera Vargas Fuentes Salazar Quintero Zamora Ibarra Cordero
    Mendoza Silva Pereira Carvalho Teixeira Azevedo Monteiro Cardoso Rossi Bianchi Conti Ferrari Marino Galli
    Moretti Fontana Lombardi Caruso Dubois Lefevre Moreau Girard Fournier Lambert Rousseau Chevalier Garnier Faure
    Muller Schneider Weber Hoffmann Schreiber Keller Vogel Brandt Lindner Kaiser Baumann Krause Winkler Seidel
    Albrecht Jansen Bakker Visser Smit Mulder Dekker Hendriks Peeters Maes Claes Nielsen Hansen Larsen Dahl Berg
    Lund Holm Lindqvist Sandberg Nystrom Ekstrom Virtanen Korhonen Laine Heikkinen Tamm Kask Ozols Kalnins
    Kowalski Nowak Wisniewski Zielinski Mazur Wozniak Novak Dvorak Svoboda Horak Kovac Horvat Petrovic Jovanovic
    Ilic Popescu Ionescu Dumitru Nagy Szabo Toth Varga Ivanov Petrov Sokolov Volkov Morozov Orlov Fedorov
    Shevchenko Kovalenko Bondar Papadakis Georgiou Stavros Demir Yilmaz Kaya Aydin Ozturk Haddad Nasser Mansour
    Khoury Saleh Farouk Bennani Tazi Cherif Rahimi Karimi Hosseini Ahmadi Sharma Patel Gupta Iyer Reddy Nair
    Banerjee Chatterjee Kulkarni Deshmukh Perera Fernando Tanaka Suzuki Watanabe Yamamoto Kobayashi Nakamura
    Matsuda Ishikawa Fujimoto Okada Wang Zhang Chen Liu Huang Zhou Xu Sun Guo Lin Kim Park Choi Jung Kang Nguyen
    Tran Pham Hoang Dang Santoso Wijaya Hartono Rahman Abdullah Ismail Santos Reyes Bautista Okafor Adeyemi
    Eze Balogun Nwosu Mensah Boateng Owusu Asante Diallo Traore Keita Kamara Mwangi Njoroge Ochieng Kimani
    Wekesa Dlamini Nkosi Khumalo Ndlovu Moyo Banda Phiri Tesfaye Bekele Haile Walker Turner Bennett Fletcher
    Harding Whitfield Ashworth Pemberton Hargreaves Langley Thornton Sutcliffe Aldridge Barlow Caldwell Doyle
    Gallagher Murphy Brennan Kavanagh MacLeod Fraser Sinclair Drummond Morgan Pritchard Llewellyn Vaughan
    Goldberg Rosen Levi Mizrahi Katz Kahale Tuiasosopo Ngata Parata Begay Yazzie Redcloud
    """.split()
)

TOWNS = tuple(
    """
    Lisbon Porto Braga Madrid Seville Bilbao Girona Toulouse Lyon Nantes Rennes Dijon Antwerp Ghent Leuven Utrecht
    Delft Leiden Bremen Kiel Dresden Leipzig Mainz Ulm Graz Linz Salzburg Zurich Basel Lausanne Turin Genoa Verona
    Bologna Parma Bari Palermo Athens Patras Split Zadar Ljubljana Maribor Brno Ostrava Krakow Gdansk Poznan
    Vilnius Kaunas Riga Tartu Tampere Turku Oulu Uppsala Malmo Bergen Trondheim Aarhus Odense Reykjavik Dublin
    Cork Galway Leeds York Durham Norwich Exeter Bristol Cardiff Glasgow Dundee Inverness Ankara Izmir Bursa
    Beirut Amman Muscat Tunis Fez Rabat Oran Dakar Accra Lagos Ibadan Nairobi Mombasa Kampala Lusaka Harare Durban
    Pretoria Mumbai Pune Chennai Kochi Jaipur Lahore Dhaka Colombo Kandy Hanoi Hue Bangkok Penang Jakarta Bandung
    Manila Cebu Taipei Busan Daegu Osaka Kyoto Nagoya Sapporo Sendai Perth Hobart Darwin Auckland Dunedin Nelson
    Halifax Quebec Ottawa Calgary Boston Albany Denver Tucson Omaha Memphis Savannah Portland Tacoma Spokane
    Monterrey Puebla Merida Quito Cuenca Lima Cusco Arequipa Bogota Medellin Cali Santiago Valparaiso Mendoza
    Rosario Cordoba Montevideo Recife Salvador Curitiba
    """.split()
)

ONSETS = (
    "b c d f g h j k l m n p r s t v w z br cr dr fr gr kr pr tr vr bl cl fl gl pl sl st sk sp sh th ch m n l r t v d"
).split()
VOWELS = "a e i o u a e i o u a e i o a e i a o ie ea ai oa".split()
CODAS = "n r l s m t d k x nd rn st lm rk nt ng th sk".split()
TOWN_ENDINGS = (
    "ford ton bury ham by field mouth stead wick dale holm burg heim stadt au ville mont court grad sk ino ovo ania "
    "ola ara ira esti pur abad nagar ana ima yama tani"
).split()
SURNAME_ENDINGS = (
    "son sen berg mann er ez ski ov ev enko ic escu opoulos idis ian yan aga uri elli etti ano ault ard eau ens ema "
    "ola ula ama ero aki eda moto kar wala uddin"
).split()
UNWANTED = "rape nig shit slut tit cum coon fag nazi sex porn spic twat dik dic kok".split()
"""What no invented word may contain."""
